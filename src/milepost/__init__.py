"""Milepost: live job progress and notifications, from a worker to a browser."""

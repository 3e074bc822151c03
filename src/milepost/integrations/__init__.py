"""Milepost inside other frameworks. Each is imported by its own name, and only where its framework is installed."""

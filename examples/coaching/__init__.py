"""Soundboard: recorded coaching sessions, listened to by a worker.

``wav`` reads recordings, ``analysis`` measures them, ``picture`` draws them; ``coaches`` says who is signed in.
"""

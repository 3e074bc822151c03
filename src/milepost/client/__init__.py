"""Clients: a worker that reports (producer), a program that listens (consumer), both also without ``await`` (sync)."""

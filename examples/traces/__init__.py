"""Traces from a JSONL file into SQLite: one modal that follows the import, and what was imported behind it.

``app`` is the page, ``worker`` imports, ``spans`` reads a line, ``store`` is the database, ``sampling`` writes samples.
"""

"""A register of documents, rendered on the server: a dashboard of what happens to them, kept up to date by polling.

``app`` is the pages, ``register`` what they and the worker keep, ``hub`` what they read of the hub. ``reading`` makes
paragraphs of a file, ``analysis`` and ``comparing`` are the work on them, ``worker`` does it.
"""

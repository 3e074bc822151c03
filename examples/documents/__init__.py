"""Legal documents from one case file: a form, a worker in its own process, and live progress between them.

``app`` is the page, ``worker`` renders, ``workqueue`` lies between them, ``supervisor`` starts and restarts it all.
"""

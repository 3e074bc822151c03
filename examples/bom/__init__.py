"""Parts lists with what a catalogue knows of each part: a CSV file goes in, and comes back enriched.

``app`` is the page, ``worker`` enriches, ``parts`` is the catalogue; where there is a Redis, ``publisher`` tells of it.
"""

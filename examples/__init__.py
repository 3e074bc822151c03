"""Five small applications, one for each product that Milepost was made for, and what they run on together.

``stage`` starts them (``milepost demo``); each of the others is an application of its own: ``app`` its pages,
``worker`` its work, ``page/`` what the browser gets.
"""

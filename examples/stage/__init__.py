"""What every example stands on: one hub, a queue between page and worker, visitors, and the processes of it all.

``catalogue`` lists the examples, ``site`` says where one of them is, ``serve`` puts hub and pages on one origin,
``work`` runs a worker, ``supervisor`` starts and restarts the processes.
"""

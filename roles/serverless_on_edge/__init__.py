"""ServerlessOnEdge, its core: controller, e-routers, dispatchers, simulated computers and clients over gRPC.

Read first: ``README.md`` for what it is, ``messages.py`` for what travels, ``router.py`` for the heart of the system.
The algorithms (``policies``, ``tables``, ``estimators``, ``installers``, ``computer_model``) are plain classes
over plain data that are told the time; the roles are thin layers that connect them to the Environment.
"""

"""Spark as an engine for star tables, for a lake that is too large for one machine; Sail is a second one.

The code keeps to calls that Spark Connect has too, so that it runs on Spark in this process, on a standalone
cluster, on a managed one, and on Sail. Nothing here knows a table by name.
"""

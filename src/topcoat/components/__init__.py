"""Components: functions that return an application, built in or the user's own.

``utils`` and ``dist`` are built in, with TorchX's names and arguments. ``finder`` finds them all.
"""

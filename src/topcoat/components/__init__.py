"""Components: functions that return an application.

``utils`` and ``dist`` are built in, with TorchX's names and arguments; ``finder`` finds these and the user's own.
"""

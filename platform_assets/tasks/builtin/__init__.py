"""The tasks that come with the platform; each is one module of the task's name."""

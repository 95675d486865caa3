"""Tasks by configuration: small steps that files in `config/tasks/` put together to jobs."""

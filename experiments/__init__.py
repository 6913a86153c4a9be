"""In silico experiments: functions that take a model and files, and give results."""

"""What clients may ask for: one coroutine per verb of api/messages.py, grouped by what it is about."""

"""What the service costs and promises, measured. `python -m benchmarks --help`; nothing here is a test."""

"""A demonstration: scripted agents that send real OTLP, and the runtime that runs and stops them."""

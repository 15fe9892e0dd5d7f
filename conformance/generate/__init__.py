"""The generator of the conformance suite: python conformance/generate/make.py."""

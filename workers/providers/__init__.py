"""Providers: one model call each. `registry.Providers` is the door; every SDK is imported only when it is used."""

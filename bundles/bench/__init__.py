"""The bundle `bench`: loom measured, without any domain and without prompts worth reading."""

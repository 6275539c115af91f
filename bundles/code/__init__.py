"""The bundle `code`: review-gated changes to a git repository, and questions about one."""

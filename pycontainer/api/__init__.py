"""The contract between client and supervisor."""

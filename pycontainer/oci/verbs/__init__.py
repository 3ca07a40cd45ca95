"""The verbs that look at a container, signal it, change its limits or take it away; each is imported on use."""

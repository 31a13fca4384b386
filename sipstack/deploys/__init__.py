"""The story of a deploy, told by role. Each function is one of the verbs: prepare, switch."""

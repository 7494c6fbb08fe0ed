"""Run untrusted Python: `Sandbox` and `AsyncSandbox`, embedded or over HTTP, with the same verbs."""

"""Thin adapters to other people's stacks: rewards and tools over this project's sandbox, grammar and grader.

One file a stack, each with that stack's exact signatures; docs/integrations.md shows each in use. Importing this
package loads none of them. They hold no logic of their own, and nothing else here imports them.
"""

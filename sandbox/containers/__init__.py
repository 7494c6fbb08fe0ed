"""The sandbox in containers: how they are launched and hardened, their first process, their health check."""

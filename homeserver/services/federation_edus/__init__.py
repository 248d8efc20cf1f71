"""What other servers say beside events. Spec: server-server API, "EDUs"."""

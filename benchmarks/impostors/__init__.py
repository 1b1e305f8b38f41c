"""Wrong results that each operation's certificate is offered."""

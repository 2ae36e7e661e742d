"""The HTTP toolkit of the agent and of central: typed routes, guard, server with deadlines, live values, pages."""

"""The domains as data: phases, agents, flows, policies, rules and prompts."""

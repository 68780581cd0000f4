"""How the closed loop survives interruptions: a service of its own, hit at any step, and checked after every hit."""

"""Policy for those who host many, over the Python client and files; what must hold against everybody is the supervisor's.

plans.py       named sets of limits, which inherit from each other
derive.py      plans made of plans (scale) and of the host (split)
capacity.py    whether the host may promise what is about to be asked of it

hosting.py        a file with tenants and sites: what differs, make it so, take it down
  description     what is written (form, claims)     site                   the same as data, and what labels say of it
  found           what is there                      admission              what is in the way
  changes         what has to change: pure           apply                  all of it, beside each other
  rollout, drain  the containers of one site         publishing             the routes of all, for the front door

frontdoor.py      requests by domain: what is wanted, who is well, one nginx that serves it
  routes, domains what can be asked of it            nginxconf, nginx       its configuration; its process
  fitting         of what is wanted, who is well     follower, background   who keeps it so; a process that stays
  certificates    whether one is good for a site     kept, sitelogs         what is served of them; the size of logs
"""

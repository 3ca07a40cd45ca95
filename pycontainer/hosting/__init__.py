"""Policy for those who host many, over the Python client and files; what must hold against everybody is the supervisor's.

plans.py       named sets of limits, which inherit from each other
derive.py      plans made of plans (scale) and of the host (split)
capacity.py    whether the host may promise what is about to be asked of it
"""

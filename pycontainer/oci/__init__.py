"""The OCI front door: the command line of runc, one short-lived process for each call.

`main` reads the arguments and loads the one module of `verbs/` that is asked for. `create` parses the bundle (`config`,
`text`), makes the cgroup (`cgroups`), and plans the start (`plan`, `mounting`): the mounts in a mount namespace of its own,
the rest as a table that the sealed program of `init` runs in the child, which then waits without Python until `start`
sends it on. What lasts is `state`. No supervisor, no monitor, and no module that costs milliseconds: what is imported here
is counted (tests/unit/oci/test_diet.py). `launcher` writes the file that starts the interpreter without `site`, and the
`bundle` that all modules are loaded from.
"""

"""All that hands do. A new interaction is one more function, one row here, and its share in WorldSpec."""

from __future__ import annotations

from h2w_ros.world.tasks.carry import carry, reach
from h2w_ros.world.tasks.hand_over import hand_over
from h2w_ros.world.tasks.operate import operate
from h2w_ros.world.tasks.push import push, topple
from h2w_ros.world.tasks.table import Task

TASKS: dict[str, Task] = {"push": push, "carry": carry, "reach": reach, "topple": topple, "operate": operate, "hand_over": hand_over}

"""Options that only some of the choices beside them use."""

from collections.abc import Mapping

from adapt.errors import InputError
from adapt.settings.checks import Settings
from adapt.settings.choices import PENALTIES
from adapt.settings.groups import PenaltyConfig, ScheduleConfig
from adapt.settings.mapping import as_dict
from adapt.settings.objective import PseudoConfig, RegressionConfig

Users = Mapping[str, tuple[str, ...]]
"""A setting that chooses -> the choices that use the option; of several settings each must."""
ANY = {"name": tuple(name for name in PENALTIES if name != "none")}
STEP, FAMO = {"name": ("step",)}, {"weighting": ("famo",)}
FISHER = {"name": ("l2_sp_fisher", "gl_sp_fisher")}
USERS: dict[type[Settings], dict[str, Users]] = {
    PenaltyConfig: {
        **dict.fromkeys(("alpha", "beta", "kinds", "apply"), ANY),
        "epsilon": {
            "name": ("l1_sp", "gl_sp", "gl_sp_fisher"),
            "apply": ("gradient", "decoupled"),
        },
        "groups": {"name": ("gl_sp", "gl_sp_fisher")},
        **dict.fromkeys(("fisher", "fisher_scale"), FISHER),
    },
    ScheduleConfig: {
        "power": {"name": ("poly",)},
        **dict.fromkeys(("milestones", "gamma"), STEP),
    },
    RegressionConfig: {
        "temperature": {"distance": ("cwd",)},
        "margin": {"distance": ("cosine",)},
        "variance": {"distance": ("variance",)},
        "window": {"weighting": ("dwa",)},
        **dict.fromkeys(("beta", "gamma"), FAMO),
    },
    PseudoConfig: {
        "tau": {"threshold": ("fixed",)},
        "cap": {"threshold": ("class_median",)},
    },
}


def refuse_unused(config: Settings) -> None:
    """InputError for an option that the choices beside it do not use; what has its default counts
    as not given."""
    default, where = as_dict(type(config)()), config.where
    given = {name: v for name, v in as_dict(config).items() if v != default[name]}
    for option, users in USERS.get(type(config), {}).items():
        for setting, choices in users.items():
            chosen = getattr(config, setting)
            if option in given and chosen not in choices:
                what = where.rstrip(".") if setting == "name" else setting
                raise InputError(
                    f"{where}{option} is {given[option]}, but {what}={chosen} does not use it; it "
                    f"belongs to {what}={' | '.join(choices)}"
                )

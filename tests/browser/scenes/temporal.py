"""TemporalPanel: it is held to the grammar; test_run_all clicks on a token."""

from __future__ import annotations

CELLS = (
    "time_acts = sn.capture(gpt, list(sn.data.stories(40, seed=0).texts), 'resid_post.2', progress=False)\n"
    "time_sae = sn.Temporal(time_acts.d_in, 128, 8, bottleneck_factor=2, "
    "generator=torch.Generator().manual_seed(0))\n"
    "_ = sn.train(time_sae, time_acts, sn.TrainConfig(steps=30, batch_size=512), progress=False)",
    "in_time = sw.TemporalPanel(gpt, time_sae, 'Anna lived near the library with a small fox. One day "
    "the fox ran away and Anna wept.', second_text='Anna lived near the library with a small fox. One "
    "day the fox came back and Anna laughed.', boundaries=[12])\nin_time",
)

"""The digests of the presets as they were recorded: a new key at its default must not make other runs of them."""

import pytest

from ndm import presets

RECORDED = {
    "cifar10-ndm": "dff421a1f8d315de39b8d00906e1edf3881f9ab4e0153b49e9cf47f8bfd98642",
    "cifar10-vdm": "15cac5a5208f592298b324f85ecfe12d005673913dc4d8dc3433ea1abe429d97",
    "digits-blurring": "81ed7e29384c99adc98b25f4b136c3c0f7a8e9f5666e7b02e557679aeca797a3",
    "digits-ddim": "d33456a04f2f9ab91483b6e3dcbf07a95eacb7b23d81ad4eb7b2cd2cff2e007d",
    "digits-ddpm": "d33456a04f2f9ab91483b6e3dcbf07a95eacb7b23d81ad4eb7b2cd2cff2e007d",
    "digits-diffenc": "f30368e4e44b9ff10fa1dcc6dda161263d8fb7e0fcbc06389a1c54b1fd4e3541",
    "digits-flow": "d8f6985fc868203480e45f04e4fc6ff5983dcab09fdaffb70e411f422b61a969",
    "digits-ndm": "36103ad29b40dcb6c69c162bba4ea0e5587da2fd0c218ed1fb7c26d7cf75dc31",
    "digits-tiny": "1fa3843fa6b5a5559631129f2e726277464552e90a8e33b121228a9673967699",
    "digits-vdm": "7ddcff7adde659bd6485accabf272cc63e6c0c956639400b5afd316afa0e4146",
    "imagenet32-chrabaszcz-ndm": "bede62ee9357dc548493e2e28cc0672fe12cddabd4953fbf82efb3edec027863",
    "imagenet32-oord-ndm": "e1f42cf10971a4c44df89470e76269e96703a05c9b0fa902bb48802f2c8b3ad4",
    "imagenet64-oord-ndm": "c571d679e46259afb25d577a928368b3690e3d01990edb004399c8faf986371a",
    "photos32-ndm": "31f33e5dad5adcbfc1a559e0fb572ebeb430b2b31100831eeaed3dfbdf497df2",
    "photos32-vdm": "3872988ee92aef313a465e095c7b13859e1ef8a9203ab8bb148b679a355dcd40",
    "rings-ndm": "e275a4d7b8e1f250c5db953a2a970d45595a240895f97beb36d8c99181b283e6",
    "rings-vdm": "f9ce37dc18dd064de47698fc4f9fd1078a20812bf502f77b30e501863a70aac2",
}
"""A preset whose line changes cannot resume its earlier runs: change one only with what the preset trains."""


def test_every_preset_is_recorded():
    assert set(presets.names()) == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_preset_is_the_experiment_it_was(name):
    assert presets.load(name).digest() == RECORDED[name]

"""The digests of the presets, written down: a change makes other runs of them, and has to be meant."""

import pytest

from ndm import presets

RECORDED = {
    "cifar10-ndm": "205c604a60115d2152922b71724aa5d1565ffc697b73aeb89a9fc6a5d7a88b1e",
    "cifar10-vdm": "4421b7c8817c7cbcc5f46445116046c31a8b2910904e8a6e7fd7536172f5d06c",
    "digits-blurring": "2b6c6bce707a02f65c2d448145cb7fee214a17b2b0eb4bbf58f8c02356d2cfbf",
    "digits-ddim": "00d639a99867206d10a4f6b2448d0da722e63d59aee6327d75735a0b4511fa93",
    "digits-ddpm": "00d639a99867206d10a4f6b2448d0da722e63d59aee6327d75735a0b4511fa93",
    "digits-diffenc": "f8ca75099e712618ba55ebcc19fff45a3b518703d57e0a0f87fa22bbf4fb602e",
    "digits-flow": "cb856be18077faee9d730305b1bf5d1c1ad95076ea70f78e74317b3a30e20214",
    "digits-ndm": "c769f8632c487ddcd8a2a88da4df9db847d015c5bfcb20f80db65f1431cf28cf",
    "digits-tiny": "02ee60cef0d1b79e9380eaf9fe1b478bc3cf0263bd46b6169f70c98f7fa0a7b6",
    "digits-vdm": "d791c43f6768f4d7774b5ab9648adb1ced0f9b32ee6c8f2574aa742ce5c1acd8",
    "imagenet32-chrabaszcz-ndm": "440656caaa8e61cd77985fafe22d4a0630506b879af63cae81f0ee2ffda20694",
    "imagenet32-oord-ndm": "00261741c99a79c5720d57858e0b0f43b36719cd1249a871b3f71bf7f6341c65",
    "imagenet64-oord-ndm": "67b4e7c1774ee59dd896218720b568302b6bd507d3f426c91199cdb7f557b1f0",
    "pairs-ndm": "02b467233833491fb5b25f8eb216e2effb2c66126ab4690e9b7d6ee087636794",
    "photos16-ndm": "82a3736f6f496a2a6f7b08b42686a4d8fd32cba44ebbfc7d61a2de031cf9a76a",
    "photos16-vdm": "dfe40662c96ceb175fd3f60aa7749d7fda4c641487bd8f62acb594ec3b7aaaf6",
    "photos32-ndm": "610b2c2bf105f150de7a94f6e42341305713118cc0fd70f5a4d8a16152c4911d",
    "photos32-vdm": "8a7f789474f76738ae675a62f2726f2c257f17734236958a7c2dc21e89052025",
    "rings-ndm": "aecd269ce55527e008ded243fe98f7c5e22123dff055ff77a956c5ed47b6ca16",
    "rings-vdm": "d0b96229ba5a00685b1e8fc88d3cd1d366e7b71139b4af5be91ab572554274c4",
}
"""A preset whose line changes cannot resume its earlier runs: change one only with what the preset trains."""


def test_every_preset_is_recorded():
    assert set(presets.names()) == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_a_preset_is_the_experiment_it_was(name):
    assert presets.load(name).digest() == RECORDED[name]

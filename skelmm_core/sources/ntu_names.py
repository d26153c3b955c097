"""Names of the action classes of NTU RGB+D 60 (A001-A060) and NTU RGB+D 120 (A001-A120), and who trains in the cross-subject split.

Short forms of the names that the authors list (Shahroudy et al., CVPR 2016; Liu et al., TPAMI 2019): alternatives after a slash
and remarks in parentheses are left out. Entry i is action i + 1.
"""

NAMES: tuple[str, ...] = (
    "drink water", "eat meal", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down", "stand up", "clapping",
    "reading", "writing", "tear up paper", "put on jacket", "take off jacket", "put on a shoe", "take off a shoe", "put on glasses",
    "take off glasses", "put on a hat",
    "take off a hat", "cheer up", "hand waving", "kicking something", "reach into pocket", "hopping", "jump up", "phone call",
    "play with phone", "type on a keyboard",
    "point to something", "taking a selfie", "check time", "rub two hands", "nod head", "shake head", "wipe face", "salute",
    "put palms together", "cross hands in front",
    "sneeze", "staggering", "falling down", "headache", "chest pain", "back pain", "neck pain", "nausea", "fan self",
    "punch other person",
    "kick other person", "push other person", "pat on back", "point at other person", "hugging", "giving object",
    "touch other person's pocket", "shaking hands", "walking towards", "walking apart",
    "put on headphone", "take off headphone", "shoot at the basket", "bounce ball", "tennis bat swing", "juggle table tennis balls",
    "hush", "flick hair", "thumb up", "thumb down",
    "make ok sign", "make victory sign", "staple book", "counting money", "cutting nails", "cutting paper", "snapping fingers",
    "open bottle", "sniff", "squat down",
    "toss a coin", "fold paper", "ball up paper", "play magic cube", "apply cream on face", "apply cream on hand", "put on bag",
    "take off bag", "put object into bag", "take object out of bag",
    "open a box", "move heavy objects", "shake fist", "throw up cap", "hands up", "cross arms", "arm circles", "arm swings",
    "running on the spot", "butt kicks",
    "cross toe touch", "side kick", "yawn", "stretch oneself", "blow nose", "hit with object", "wield knife", "knock over",
    "grab stuff", "shoot with gun",
    "step on foot", "high-five", "cheers and drink", "carry object together", "take a photo", "follow", "whisper", "exchange things",
    "support somebody", "rock-paper-scissors",
)  # fmt: skip

# Training performers of NTU RGB+D 60 (up to 40) and 120 (all); no performer above 40 is in NTU RGB+D 60, so one list serves both.
TRAINING_PERFORMERS = (
    *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38),
    *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95, 97, 98, 100, 103),
)

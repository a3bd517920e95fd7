/* words.c - words, numbers and identifiers that texts of tasks are made of. See words.h. */
#include "words.h"

#include <stdio.h>

#define WORDS 256

static const char adjectives[WORDS][10] = {
    "able",     "active",  "airy",    "amber",    "ample",    "ancient", "autumn",  "awake",   "bare",     "basic",
    "bent",     "big",     "black",   "blank",    "blond",    "blue",    "blunt",   "bold",    "brief",    "bright",
    "brisk",    "broad",   "broken",  "bronze",   "busy",     "calm",    "careful", "central", "cheap",    "cheerful",
    "civil",    "clean",   "clear",   "clever",   "close",    "cloudy",  "cold",    "common",  "cool",     "copper",
    "cosy",     "covered", "crooked", "curious",  "curly",    "daily",   "damp",    "dark",    "deep",     "dense",
    "direct",   "distant", "double",  "dry",      "dusty",    "eager",   "early",   "earthen", "eastern",  "easy",
    "electric", "empty",   "endless", "equal",    "even",     "exact",   "faded",   "faint",   "fair",     "famous",
    "far",      "fast",    "final",   "fine",     "firm",     "first",   "flat",    "floral",  "fond",     "formal",
    "fragile",  "free",    "fresh",   "friendly", "frozen",   "full",    "funny",   "gentle",  "giant",    "glad",
    "golden",   "good",    "grand",   "grassy",   "grave",    "great",   "grey",    "handy",   "happy",    "hard",
    "harsh",    "hasty",   "heavy",   "helpful",  "hidden",   "high",    "hollow",  "honest",  "huge",     "humble",
    "hungry",   "icy",     "ideal",   "idle",     "iron",     "ivory",   "jolly",   "keen",    "kind",     "large",
    "late",     "lazy",    "leafy",   "lean",     "level",    "light",   "little",  "lively",  "local",    "lonely",
    "long",     "lost",    "loud",    "lovely",   "low",      "loyal",   "lucky",   "marble",  "mellow",   "merry",
    "mild",     "milky",   "minor",   "modern",   "modest",   "moist",   "mossy",   "muddy",   "narrow",   "near",
    "neat",     "new",     "noble",   "noisy",    "normal",   "novel",   "oaken",   "odd",     "old",      "open",
    "orange",   "pale",    "patient", "plain",    "pleasant", "polite",  "pretty",  "proper",  "proud",    "public",
    "pure",     "purple",  "quick",   "random",   "rapid",    "rare",    "raw",     "ready",   "real",     "regal",
    "rich",     "ripe",    "rising",  "robust",   "rocky",    "round",   "royal",   "rustic",  "sacred",   "safe",
    "salty",    "scarlet", "secret",  "serene",   "shady",    "shallow", "sharp",   "short",   "shy",      "silent",
    "silky",    "silver",  "simple",  "sleepy",   "slender",  "slim",    "slow",    "small",   "smooth",   "social",
    "soft",     "solar",   "solid",   "sour",     "southern", "special", "spicy",   "square",  "stable",   "steady",
    "steep",    "stony",   "stormy",  "strange",  "strict",   "strong",  "sudden",  "sure",    "sweet",    "swift",
    "tall",     "tame",    "tender",  "thin",     "tidy",     "tiny",    "tired",   "tough",   "tranquil", "useful",
    "vague",    "vast",    "velvet",  "vivid",    "warm",     "weary",   "western", "wet",     "white",    "whole",
    "wide",     "windy",   "winter",  "wise",     "wooden",   "yellow"};

static const char nouns[WORDS][10] = {
    "acorn",   "address", "alley",   "anchor",  "ankle",    "apron",   "arch",    "arrow",   "atlas",    "autumn",
    "badge",   "bag",     "bakery",  "balcony", "ball",     "banner",  "barn",    "barrel",  "basin",    "bay",
    "beach",   "bead",    "beam",    "bean",    "bell",     "belt",    "bench",   "berry",   "bird",     "board",
    "boat",    "bone",    "book",    "boot",    "bottle",   "boulder", "bow",     "bowl",    "branch",   "bread",
    "brick",   "bridge",  "broom",   "bucket",  "bush",     "butter",  "button",  "cabin",   "camel",    "camera",
    "candle",  "canoe",   "canyon",  "carpet",  "carrot",   "cart",    "castle",  "cave",    "cedar",    "chain",
    "chair",   "chalk",   "chest",   "chimney", "circle",   "city",    "clay",    "clock",   "cloth",    "cloud",
    "clover",  "coach",   "coat",    "coin",    "collar",   "comb",    "corn",    "corner",  "cottage",  "cotton",
    "cow",     "creek",   "crow",    "crown",   "cup",      "curtain", "dam",     "deer",    "desert",   "desk",
    "dish",    "dog",     "dolphin", "donkey",  "door",     "dragon",  "drawer",  "drum",    "duck",     "eagle",
    "earth",   "elbow",   "elm",     "engine",  "falcon",   "feather", "fence",   "fern",    "ferry",    "field",
    "finger",  "fire",    "fish",    "flag",    "flower",   "flute",   "forest",  "fork",    "fountain", "frog",
    "fruit",   "garden",  "gate",    "ghost",   "goat",     "goose",   "grape",   "grass",   "hammer",   "harbor",
    "hat",     "hawk",    "hedge",   "hill",    "hook",     "horn",    "horse",   "hotel",   "ink",      "island",
    "jacket",  "jar",     "jewel",   "key",     "kitchen",  "kite",    "ladder",  "lamp",    "lantern",  "leaf",
    "lemon",   "letter",  "lion",    "lizard",  "lock",     "maple",   "market",  "meadow",  "melon",    "mill",
    "mint",    "mirror",  "moon",    "moth",    "mountain", "mouse",   "nest",    "net",     "oak",      "ocean",
    "olive",   "otter",   "oven",    "owl",     "paddle",   "page",    "palm",    "pan",     "paper",    "parrot",
    "path",    "pear",    "pearl",   "pebble",  "pen",      "pepper",  "piano",   "pigeon",  "pillow",   "pine",
    "plate",   "plum",    "pocket",  "pond",    "pony",     "pot",     "prairie", "pumpkin", "puzzle",   "rabbit",
    "raven",   "ribbon",  "rice",    "ring",    "road",     "robin",   "rocket",  "roof",    "rope",     "sail",
    "salt",    "sand",    "scarf",   "school",  "seed",     "sheep",   "shell",   "ship",    "shirt",    "shore",
    "shovel",  "snail",   "snow",    "spider",  "spoon",    "spring",  "stable",  "star",    "stone",    "stove",
    "straw",   "stream",  "street",  "swan",    "table",    "tent",    "thread",  "tiger",   "train",    "tree",
    "trumpet", "tunnel",  "valley",  "vase",    "village",  "violin",  "wagon",   "walnut",  "water",    "wave",
    "well",    "whale",   "wheel",   "willow",  "window",   "wolf"};

size_t natsl_word_longest(natsl_word_kind kind)
{
    switch (kind) {
    case NATSL_NUMBERS: return 7;
    case NATSL_WORDS: return 2 * (sizeof nouns[0] - 1) + 1;
    case NATSL_UUIDS: return 36;
    case NATSL_SYLLABLES: return 8;
    }
    return 0;
}

void natsl_word_draw(natsl_word_kind kind, natsl_rng *rng, char word[NATSL_WORD_BYTES])
{
    static const char consonants[] = "bcdfghjklmnprstvwxyz", vowels[] = "aeiou";
    if (kind == NATSL_NUMBERS) {
        (void)snprintf(word, NATSL_WORD_BYTES, "%u", (unsigned)(1000000 + natsl_rng_below(rng, 9000000)));
    } else if (kind == NATSL_WORDS) {
        const char *adjective = adjectives[natsl_rng_below(rng, WORDS)];
        (void)snprintf(word, NATSL_WORD_BYTES, "%s-%s", adjective, nouns[natsl_rng_below(rng, WORDS)]);
    } else if (kind == NATSL_UUIDS) {
        const uint64_t high = (natsl_rng_next(rng) & ~(uint64_t)0xf000) | 0x4000; /* version 4 */
        const uint64_t low = (natsl_rng_next(rng) & ~((uint64_t)3 << 62)) | (uint64_t)2 << 62;
        (void)snprintf(word, NATSL_WORD_BYTES, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32),
                       (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff), (unsigned)(low >> 48),
                       (unsigned long long)(low & 0xffffffffffffu));
    } else {
        const size_t syllables = 2 + (size_t)natsl_rng_below(rng, 3);
        for (size_t i = 0; i < syllables; i++) {
            word[2 * i] = consonants[natsl_rng_below(rng, sizeof consonants - 1)];
            word[2 * i + 1] = vowels[natsl_rng_below(rng, sizeof vowels - 1)];
        }
        word[2 * syllables] = '\0';
    }
}

void natsl_word_pair(uint32_t i, char word[NATSL_WORD_BYTES])
{
    (void)snprintf(word, NATSL_WORD_BYTES, "%s-%s", adjectives[i / WORDS % WORDS], nouns[i % WORDS]);
}

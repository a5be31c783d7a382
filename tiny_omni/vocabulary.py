"""The words tiny-omni knows: labels of the clips and how they are said in an answer."""

from __future__ import annotations

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
KEYWORDS = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")
DRINKS = (
    "americano",
    "cappuccino",
    "coffee",
    "drip coffee",
    "espresso",
    "house coffee",
    "iced coffee",
    "iced mocha",
    "latte",
    "mocha",
)
#: EMO-DB sentence code -> the sentence in lower case without punctuation.
SENTENCES = {
    "a01": "der lappen liegt auf dem eisschrank",
    "a02": "das will sie am mittwoch abgeben",
    "a04": "heute abend könnte ich es ihm sagen",
    "a05": "das schwarze stück papier befindet sich da oben neben dem holzstück",
    "a07": "in sieben stunden wird es soweit sein",
    "b01": "was sind denn das für tüten die da unter dem tisch stehen",
    "b02": "sie haben es gerade hochgetragen und jetzt gehen sie wieder runter",
    "b03": "an den wochenenden bin ich jetzt immer nach hause gefahren und habe agnes besucht",
    "b09": "ich will das eben wegbringen und dann mit karl was trinken gehen",
    "b10": "die wird auf dem platz sein wo wir sie immer hinlegen",
}
EMOTIONS = {
    "anger": "angry",
    "boredom": "bored",
    "disgust": "disgusted",
    "fear": "afraid",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
}
EVENTS = {
    "baby_cry": "baby crying",
    "chainsaw": "chainsaw",
    "clock_tick": "clock ticking",
    "dog_bark": "dog barking",
    "person_sneeze": "sneezing",
    "rooster": "rooster crowing",
}
#: These four environment classes serve only as background beds, never as events.
BEDS = {
    "fire_crackling": "fire",
    "helicopter": "helicopter",
    "rain": "rain",
    "sea_waves": "sea waves",
}
NO_BED = "none"
INSTRUMENTS = {
    "acoustic_guitar": "acoustic guitar",
    "bass_drum": "bass drum",
    "cello": "cello",
    "clarinet": "clarinet",
    "double_bass": "double bass",
    "flute": "flute",
    "hi_hat": "hi-hat",
    "saxophone": "saxophone",
    "snare_drum": "snare drum",
    "violin_or_fiddle": "violin",
}
GENDERS = ("female", "male")
SYSTEM = "You are a helpful assistant."

//! The events: event `n` is a function of the seed and `n`, so any stretch of the stream can be made on its own.
//!
//! Of 50 events one is a person, three are auctions and 46 are bids. 100 auctions are open at a time and 1,000 people act; half the bids go to a hot
//! auction, three quarters of bids and auctions come from hot people. Prices are spread evenly over six orders of magnitude.

use std::fmt::Write;

use super::config::NexmarkConfig;

pub(super) const PERSON: usize = 0;
pub(super) const AUCTION: usize = 1;
pub(super) const BID: usize = 2;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Long,
    Text,
    /// Milliseconds since 1970.
    Time,
}

/// The fields of the three kinds of events.
pub(super) const FIELDS: [&[(&str, Kind)]; 3] = [
    &[
        ("id", Kind::Long),
        ("name", Kind::Text),
        ("emailAddress", Kind::Text),
        ("creditCard", Kind::Text),
        ("city", Kind::Text),
        ("state", Kind::Text),
        ("dateTime", Kind::Time),
        ("extra", Kind::Text),
    ],
    &[
        ("id", Kind::Long),
        ("itemName", Kind::Text),
        ("description", Kind::Text),
        ("initialBid", Kind::Long),
        ("reserve", Kind::Long),
        ("dateTime", Kind::Time),
        ("expires", Kind::Time),
        ("seller", Kind::Long),
        ("category", Kind::Long),
        ("extra", Kind::Text),
    ],
    &[
        ("auction", Kind::Long),
        ("bidder", Kind::Long),
        ("price", Kind::Long),
        ("channel", Kind::Text),
        ("url", Kind::Text),
        ("dateTime", Kind::Time),
        ("extra", Kind::Text),
    ],
];

const FIRST_ID: i64 = 1_000;
const FIRST_CATEGORY: i64 = 10;
const OPEN_AUCTIONS: i64 = 100;
const ACTIVE_PEOPLE: i64 = 1_000;
/// Ids are named up to this many before they exist.
const AHEAD: i64 = 10;
/// One id of so many is hot.
const HOT: i64 = 100;
const CHANNELS: u32 = 10_000;
/// Letters that `extra` is cut from.
const POOL: usize = 1 << 20;
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];

/// SplitMix64, keyed by a number.
struct Random(u64);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Random {
    fn of(seed: u64, n: u64) -> Self {
        Self(mix(seed.wrapping_add(n.wrapping_mul(GOLDEN))))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number below `end`.
    fn below(&mut self, end: u32) -> i64 {
        (((self.bits() >> 32) * u64::from(end)) >> 32) as i64
    }

    fn one_of<'a>(&mut self, texts: &[&'a str]) -> &'a str {
        texts[self.below(texts.len() as u32) as usize]
    }

    /// Adds 3 to `longest - 1` letters, some of them `other`; blanks at the ends are taken away.
    fn word(&mut self, longest: u32, other: char, out: &mut String) {
        let from = out.len();
        for _ in 0..3 + self.below(longest - 3) {
            match self.below(13) {
                0 => out.push(other),
                _ => out.push(char::from(b'a' + self.below(26) as u8)),
            }
        }
        out.truncate(from + out[from..].trim_end().len());
        let blanks = out.len() - from - out[from..].trim_start().len();
        out.replace_range(from..from + blanks, "");
    }

    fn url(&mut self) -> String {
        let mut url = "https://www.nexmark.com/".to_string();
        for _ in 0..3 {
            self.word(5, '_', &mut url);
            url.push('/');
        }
        url + "item.htm?query=1"
    }
}

/// An event; made once and filled again.
#[derive(Debug, Default)]
pub(super) struct Event {
    /// [`PERSON`], [`AUCTION`] or [`BID`].
    pub kind: usize,
    /// Its fields that are numbers or times, by their place in [`FIELDS`].
    pub numbers: [i64; 10],
    /// Its fields that are texts, by their place.
    pub texts: [String; 10],
    pub time: i64,
}

/// What all events draw from.
pub(super) struct Generator {
    seed: u64,
    rate: u64,
    base_ms: i64,
    ooo_group: u64,
    pool: String,
    prices: Vec<u64>,
    hot_urls: Vec<String>,
    channels: Vec<(String, String)>,
}

impl Generator {
    pub fn new(config: &NexmarkConfig) -> Self {
        let mut random = Random::of(config.seed, u64::MAX);
        let mut pool = String::with_capacity(POOL);
        while pool.len() < POOL {
            let bytes = random.bits().to_le_bytes();
            pool.extend(bytes.map(|byte| char::from(b'a' + ((u32::from(byte) * 26) >> 8) as u8)));
        }
        // 10^(j × 6 / 1024) cents, in 1/1024ths; whole numbers from here on.
        let price = |j: u32| (10f64.powf(f64::from(j) * 6.0 / 1024.0) * 100.0 * 1024.0).round() as u64;
        let mut random = Random::of(config.seed, u64::MAX - 1);
        let hot_urls = (0..4).map(|_| random.url()).collect();
        let channel = |n: u32| {
            let mut url = random.url();
            if random.below(10) > 0 {
                let id = i64::from(n.reverse_bits() as i32).abs();
                url.push_str(&format!("&channel_id={id}"));
            }
            (format!("channel-{n}"), url)
        };
        Self {
            seed: config.seed,
            rate: config.rate,
            base_ms: config.base_ms,
            ooo_group: config.ooo_group,
            pool,
            prices: (0..=1024).map(price).collect(),
            hot_urls,
            channels: (0..CHANNELS).map(channel).collect(),
        }
    }

    fn time_of(&self, n: u64) -> i64 {
        let millis = u128::from(n) * 1000 / u128::from(self.rate);
        self.base_ms.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    fn price(&self, random: &mut Random) -> i64 {
        // 30 bits: 10 choose a step, 20 a place between it and the next.
        let bits = random.bits() >> 34;
        let (step, between) = ((bits >> 20) as usize, bits & 0xF_FFFF);
        let (low, high) = (self.prices[step], self.prices[step + 1]);
        ((low + (((high - low) * between) >> 20) + 512) >> 10) as i64
    }

    /// Fills an event of `used` bytes up to about `wanted`.
    fn extra(&self, random: &mut Random, used: usize, wanted: usize, out: &mut String) {
        if used > wanted {
            return;
        }
        let wanted = (wanted - used) as i64;
        let spread = (wanted * 2 + 5) / 10;
        let length = wanted - spread + if spread == 0 { 0 } else { random.below(2 * spread as u32) };
        let from = random.below((POOL as i64 - length) as u32) as usize;
        out.push_str(&self.pool[from..from + length as usize]);
    }

    fn any_person(random: &mut Random, last: i64) -> i64 {
        let people = last + 1;
        let active = people.min(ACTIVE_PEOPLE);
        people - active + random.below((active + AHEAD) as u32)
    }

    /// Fills in event `n`.
    pub fn fill(&self, n: u64, event: &mut Event) {
        let group = self.ooo_group;
        let shown = if group == 1 { n } else { n / group * group + n.wrapping_mul(953) % group };
        event.time = self.time_of(shown);
        let (turn, place) = ((n / 50) as i64, n % 50);
        let last_auction = match place {
            0 => turn * 3 - 1,
            1..=3 => turn * 3 + place as i64 - 1,
            _ => turn * 3 + 2,
        };
        event.texts.iter_mut().for_each(String::clear);
        let mut random = Random::of(self.seed, n);
        match place {
            0 => self.person(turn, &mut random, event),
            1..=3 => self.auction(turn, last_auction, shown, &mut random, event),
            _ => self.bid(turn, last_auction, &mut random, event),
        }
    }

    fn person(&self, last_person: i64, random: &mut Random, event: &mut Event) {
        event.kind = PERSON;
        event.numbers[0] = last_person + FIRST_ID;
        event.numbers[6] = event.time;
        let [_, name, email, card, city, state, _, extra, ..] = &mut event.texts;
        name.push_str(random.one_of(&FIRST_NAMES));
        name.push(' ');
        name.push_str(random.one_of(&LAST_NAMES));
        random.word(7, ' ', email);
        email.push('@');
        random.word(5, ' ', email);
        email.push_str(".com");
        for part in 0..4 {
            let blank = if part > 0 { " " } else { "" };
            let _ = write!(card, "{blank}{:04}", random.below(10_000));
        }
        city.push_str(random.one_of(&CITIES));
        state.push_str(random.one_of(&STATES));
        let used = 8 + name.len() + email.len() + card.len() + city.len() + state.len();
        self.extra(random, used, 200, extra);
    }

    fn auction(&self, last_person: i64, last_auction: i64, shown: u64, random: &mut Random, event: &mut Event) {
        event.kind = AUCTION;
        let seller = match random.below(4) {
            0 => Self::any_person(random, last_person),
            _ => last_person / HOT * HOT,
        };
        let category = FIRST_CATEGORY + random.below(5);
        let initial = self.price(random);
        let horizon = (self.time_of(shown + (OPEN_AUCTIONS as u64 * 50) / 3) - event.time).max(0);
        let expires = event.time + 1 + random.below((horizon * 2).max(1) as u32);
        let [_, item, description, _, _, _, _, _, _, extra] = &mut event.texts;
        random.word(20, ' ', item);
        random.word(100, ' ', description);
        let reserve = initial + self.price(random);
        self.extra(random, 48 + item.len() + description.len(), 500, extra);
        let id = last_auction + FIRST_ID;
        event.numbers = [id, 0, 0, initial, reserve, event.time, expires, seller + FIRST_ID, category, 0];
    }

    fn bid(&self, last_person: i64, last_auction: i64, random: &mut Random, event: &mut Event) {
        event.kind = BID;
        let auction = match random.below(2) {
            0 => {
                let oldest = (last_auction - OPEN_AUCTIONS).max(0);
                oldest + random.below((last_auction - oldest + 1 + AHEAD) as u32)
            }
            _ => last_auction / HOT * HOT,
        };
        let bidder = match random.below(4) {
            0 => Self::any_person(random, last_person),
            _ => last_person / HOT * HOT + 1,
        };
        let price = self.price(random);
        let (channel, url) = match random.below(2) {
            0 => {
                let (channel, url) = &self.channels[random.below(CHANNELS) as usize];
                (channel.as_str(), url.as_str())
            }
            _ => {
                let hot = random.below(4) as usize;
                (HOT_CHANNELS[hot], self.hot_urls[hot].as_str())
            }
        };
        event.texts[3].push_str(channel);
        event.texts[4].push_str(url);
        self.extra(random, 32, 100, &mut event.texts[6]);
        event.numbers = [auction + FIRST_ID, bidder + FIRST_ID, price, 0, 0, event.time, 0, 0, 0, 0];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nexmark::source::tests::config;

    /// FNV-1a over every field, in order.
    fn digest(config: &NexmarkConfig, events: u64) -> u64 {
        let (generator, mut event) = (Generator::new(config), Event::default());
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        for n in 0..events {
            generator.fill(n, &mut event);
            for (place, (_, kind)) in FIELDS[event.kind].iter().enumerate() {
                match kind {
                    Kind::Text => event.texts[place].bytes().for_each(&mut eat),
                    Kind::Long | Kind::Time => event.numbers[place].to_le_bytes().into_iter().for_each(&mut eat),
                }
            }
        }
        hash
    }

    #[test]
    fn the_events_are_those_of_the_other_generators() {
        // The digest that the project's Flink source and its file generator print for these.
        assert_eq!(format!("{:016x}", digest(&config(&[("rate", "1000")]), 100_000)), "e56e4f9e447b9e83");
    }
}

//! Pictures and videos that a client asks for.

use super::request::Media;

/// The shape of a picture or a video: one of those that upstreams draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ratio {
    /// 1:1
    Square,
    /// 3:4
    Portrait,
    /// 4:3
    Landscape,
    /// 9:16
    Tall,
    /// 16:9
    Wide,
}

impl Ratio {
    const ALL: [(Self, &'static str, f64); 5] = [
        (Self::Square, "1:1", 1.0),
        (Self::Portrait, "3:4", 3.0 / 4.0),
        (Self::Landscape, "4:3", 4.0 / 3.0),
        (Self::Tall, "9:16", 9.0 / 16.0),
        (Self::Wide, "16:9", 16.0 / 9.0),
    ];
    /// The most extreme shape that is accepted, as the longer side by the shorter.
    const MAX: f64 = 3.0;

    /// Width to height, such as `16:9`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(ratio, ..)| *ratio == self).map_or("1:1", |(_, text, _)| text)
    }

    /// The shape of this name, as [`Self::as_str`] returns it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, text, _)| *text == name).map(|(ratio, ..)| *ratio)
    }

    /// The nearest shape to a width and a height, by the logarithm of their ratio; `None` beyond 1:3 and 3:1 and for a side
    /// of 0.
    #[must_use]
    pub fn nearest(width: u32, height: u32) -> Option<Self> {
        let wanted = f64::from(width) / f64::from(height);
        if width == 0 || height == 0 || !(1.0 / Self::MAX..=Self::MAX).contains(&wanted) {
            return None;
        }
        let distance = |ratio: f64| (wanted.ln() - ratio.ln()).abs();
        let nearest = Self::ALL.iter().min_by(|(.., one), (.., other)| distance(*one).total_cmp(&distance(*other)));
        nearest.map(|(ratio, ..)| *ratio)
    }
}

/// How much effort a picture is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Quality {
    /// As the upstream likes.
    #[default]
    Auto,
    /// Little.
    Low,
    /// Much.
    High,
}

/// Pictures that a client asks for.
#[derive(Debug, Default)]
pub struct PictureRequest {
    /// The model's name as the client wrote it.
    pub model: Option<String>,
    /// What to draw; 1 to 32,000 characters.
    pub prompt: String,
    /// Their shape; `None` = as the model likes.
    pub ratio: Option<Ratio>,
    /// The effort, where the model's name does not say it.
    pub quality: Quality,
    /// How many, at least 1.
    pub count: usize,
    /// The pictures to draw from, in the order in which the prompt counts them.
    pub inputs: Vec<Media>,
}

/// A video that a client asks for.
#[derive(Debug, Default)]
pub struct VideoRequest {
    /// The model's name as the client wrote it.
    pub model: Option<String>,
    /// What it shows; 1 to 32,000 characters.
    pub prompt: String,
    /// Its shape; `None` = 16:9.
    pub ratio: Option<Ratio>,
    /// Its first frame.
    pub first_frame: Option<Media>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_shape_is_found_by_the_ratio() {
        for (width, height, expected) in [
            (1, 1, Some("1:1")),
            (1024, 1024, Some("1:1")),
            (512, 512, Some("1:1")),
            (1536, 1024, Some("4:3")),
            (1024, 1536, Some("3:4")),
            (1792, 1024, Some("16:9")),
            (1024, 1792, Some("9:16")),
            (1280, 720, Some("16:9")),
            (720, 1280, Some("9:16")),
            (3, 1, Some("16:9")),
            (1, 3, Some("9:16")),
            (301, 100, None),
            (100, 301, None),
            (0, 1, None),
            (1, 0, None),
            (0, 0, None),
            (u32::MAX, u32::MAX, Some("1:1")),
            (u32::MAX, 1, None),
        ] {
            assert_eq!(Ratio::nearest(width, height).map(Ratio::as_str), expected, "{width}x{height}");
        }
        for (ratio, name, _) in Ratio::ALL {
            assert_eq!(Ratio::named(name), Some(ratio));
        }
    }
}

//! The bytes of one simulated file, and changes to them that may be applied in part.

use std::collections::BTreeMap;
use std::rc::Rc;

use rand::RngCore;
use rand::rngs::StdRng;

const PAGE: usize = 4096;

/// What a device writes as one: a torn write keeps or loses whole sectors.
const SECTOR: usize = 512;

/// The content of a file. Pages are shared between clones until one of them changes, so that the image
/// on the platter and the image that reads see cost little more than one.
#[derive(Debug, Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u64, Rc<[u8; PAGE]>>,
    len: u64,
}

impl Image {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The bytes from `position`, fewer than asked for at the end of the file. Holes read as zeroes.
    pub(super) fn read(&self, position: u64, len: usize) -> Vec<u8> {
        let end = self.len.min(position.saturating_add(len as u64));
        let mut bytes = vec![0; end.saturating_sub(position) as usize];
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = locate(position + done as u64);
            let take = (PAGE - within).min(bytes.len() - done);
            if let Some(page) = self.pages.get(&page) {
                bytes[done..done + take].copy_from_slice(&page[within..within + take]);
            }
            done += take;
        }
        bytes
    }

    /// Writes, and extends the file to the end of what was written.
    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (page, within) = locate(position + done as u64);
            let take = (PAGE - within).min(bytes.len() - done);
            let new = &bytes[done..done + take];
            if let Ok(whole) = <&[u8; PAGE]>::try_from(new) {
                self.write_page(page, whole);
            } else {
                let page = self.pages.entry(page).or_insert_with(|| Rc::new([0; PAGE]));
                Rc::make_mut(page)[within..within + take].copy_from_slice(new);
            }
            done += take;
        }
        self.len = self.len.max(position + bytes.len() as u64);
    }

    fn write_page(&mut self, page: u64, bytes: &[u8; PAGE]) {
        if *bytes == [0; PAGE] {
            self.pages.remove(&page); // a hole reads as zeroes
            return;
        }
        // What other images share stays as it is.
        match self.pages.get_mut(&page).and_then(Rc::get_mut) {
            Some(mine) => *mine = *bytes,
            None => {
                self.pages.insert(page, Rc::new(*bytes));
            }
        }
    }

    /// Cuts the file, or extends it with zeroes.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (last, within) = locate(len);
            let gone = self.pages.split_off(&last);
            if within > 0
                && let Some(page) = gone.get(&last)
            {
                let mut page = Rc::clone(page);
                Rc::make_mut(&mut page)[within..].fill(0);
                self.pages.insert(last, page);
            }
        }
        self.len = len;
    }

    pub(super) fn flip_bit(&mut self, position: u64, bit: u8) {
        assert!(position < self.len, "the file ends before this byte");
        let byte = self.read(position, 1)[0];
        self.write(position, &[byte ^ (1 << (bit % 8))]);
    }
}

fn locate(position: u64) -> (u64, usize) {
    (position / PAGE as u64, (position % PAGE as u64) as usize)
}

/// One change of a file's bytes or length.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Write { position: u64, bytes: Rc<[u8]> },
    SetLen(u64),
    ExtendTo(u64),
}

impl Change {
    /// The length of a file of `len` bytes after this change.
    pub(super) fn len_after(&self, len: u64) -> u64 {
        match self {
            Self::Write { position, bytes } => len.max(position + bytes.len() as u64),
            Self::SetLen(to) => *to,
            Self::ExtendTo(to) => len.max(*to),
        }
    }

    pub(super) fn apply(&self, image: &mut Image) {
        match self {
            Self::Write { position, bytes } => image.write(*position, bytes),
            Self::SetLen(_) | Self::ExtendTo(_) => image.set_len(self.len_after(image.len())),
        }
    }

    /// Applies what the power cut left of a change that no sync covered: all, nothing, or, of a write,
    /// any of its sectors. A write that grew the file may lose the growth although its sectors reached
    /// the platter, and the other way round.
    pub(super) fn apply_damaged(&self, image: &mut Image, random: &mut StdRng) {
        let Self::Write { position, bytes } = self else {
            if random.next_u32().is_multiple_of(2) {
                self.apply(image);
            }
            return;
        };
        let old_len = image.len();
        let fate = random.next_u32() % 3;
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            let kept = match fate {
                0 => true,
                1 => false,
                _ => random.next_u32().is_multiple_of(2),
            };
            if kept {
                image.write(position + (index * SECTOR) as u64, sector);
            }
        }
        let grown = match fate {
            0 => true,
            1 => false,
            _ => random.next_u32().is_multiple_of(2),
        };
        image.set_len(if grown {
            self.len_after(old_len)
        } else {
            old_len
        });
    }
}

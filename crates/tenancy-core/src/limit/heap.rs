//! A heap in memory of a fixed size, of the numbers of entries that know their place in it: the least key is first.

/// The place of an entry that is in no heap.
pub const NOWHERE: u32 = u32::MAX;

/// An entry of a heap.
pub trait Placed {
    /// Its key.
    fn key(&self) -> u64;
    /// Its place in the heap.
    fn place(&mut self) -> &mut u32;
}

/// Adds an entry.
pub fn push<T: Placed>(heap: &mut [u32], size: &mut u32, entries: &mut [T], number: u32) {
    let place = *size;
    if heap.len() > place as usize {
        *size += 1;
        put(heap, entries, place, number);
        up(heap, entries, place);
    }
}

/// Removes the entry at a place.
pub fn remove<T: Placed>(heap: &mut [u32], size: &mut u32, entries: &mut [T], place: u32) {
    let (Some(gone), Some(last)) = (number(heap, place), size.checked_sub(1)) else {
        return;
    };
    *size = last;
    if let Some(entry) = entries.get_mut(gone as usize) {
        *entry.place() = NOWHERE;
    }
    if place < last
        && let Some(moved) = number(heap, last)
    {
        put(heap, entries, place, moved);
        let place = up(heap, entries, place);
        down(heap, *size, entries, place);
    }
}

fn number(heap: &[u32], place: u32) -> Option<u32> {
    heap.get(place as usize).copied()
}

fn key<T: Placed>(heap: &[u32], entries: &[T], place: u32) -> u64 {
    let entry = number(heap, place).and_then(|number| entries.get(number as usize));
    entry.map_or(u64::MAX, Placed::key)
}

fn put<T: Placed>(heap: &mut [u32], entries: &mut [T], place: u32, number: u32) {
    if let (Some(at), Some(entry)) = (
        heap.get_mut(place as usize),
        entries.get_mut(number as usize),
    ) {
        *at = number;
        *entry.place() = place;
    }
}

fn swap<T: Placed>(heap: &mut [u32], entries: &mut [T], a: u32, b: u32) {
    if let (Some(of_a), Some(of_b)) = (number(heap, a), number(heap, b)) {
        put(heap, entries, a, of_b);
        put(heap, entries, b, of_a);
    }
}

/// Moves an entry up to its place. Returns the place.
fn up<T: Placed>(heap: &mut [u32], entries: &mut [T], mut place: u32) -> u32 {
    while place > 0 {
        let above = (place - 1) / 2;
        if key(heap, entries, above) <= key(heap, entries, place) {
            break;
        }
        swap(heap, entries, above, place);
        place = above;
    }
    place
}

fn down<T: Placed>(heap: &mut [u32], size: u32, entries: &mut [T], mut place: u32) {
    loop {
        let below = [2 * place + 1, 2 * place + 2].into_iter();
        let least = below
            .filter(|below| *below < size)
            .min_by_key(|below| key(heap, entries, *below));
        let Some(least) = least else { return };
        if key(heap, entries, place) <= key(heap, entries, least) {
            return;
        }
        swap(heap, entries, least, place);
        place = least;
    }
}

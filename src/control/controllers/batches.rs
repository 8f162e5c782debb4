//! Many like requests, carefully: one, then two, four, eight at a time, and no more after a
//! failure. What is refused once, a quota or a webhook, would be refused a hundred times.

use futures::future::join_all;

/// Does `act` for each item.
///
/// # Errors
/// The first failure of the last batch begun.
pub async fn slow_start<T, E, F, R>(items: Vec<T>, act: F) -> Result<(), E>
where
    F: Fn(T) -> R,
    R: Future<Output = Result<(), E>>,
{
    let mut items = items.into_iter();
    let mut size = 1;
    while items.len() > 0 {
        let batch = join_all(items.by_ref().take(size).map(&act)).await;
        batch.into_iter().collect::<Result<(), E>>()?;
        size *= 2;
    }
    Ok(())
}

/// Does `act` for every item at once, failures or not.
///
/// # Errors
/// The first failure.
pub async fn all_at_once<T, E, F, R>(items: Vec<T>, act: F) -> Result<(), E>
where
    F: Fn(T) -> R,
    R: Future<Output = Result<(), E>>,
{
    let results = join_all(items.into_iter().map(&act)).await;
    results.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_failure_ends_the_growth() {
        let seen = Mutex::new(Vec::new());
        let result = slow_start((0..100).collect(), |n: usize| {
            seen.lock().unwrap().push(n);
            async move { if n == 5 { Err(n) } else { Ok(()) } }
        })
        .await;
        assert_eq!(result, Err(5));
        assert_eq!(seen.into_inner().unwrap(), (0..7).collect::<Vec<_>>());
    }
}

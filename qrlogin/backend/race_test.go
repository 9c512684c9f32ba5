//go:build race

package backend

// poolLoss is what a push allocates anew because, under the race detector, a sync.Pool
// loses a quarter of what it is given.
const poolLoss = 5

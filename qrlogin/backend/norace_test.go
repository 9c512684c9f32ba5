//go:build !race

package backend

const poolLoss = 0

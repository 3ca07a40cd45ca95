// Package tap writes the Test Anything Protocol: as much of github.com/mndrix/tap-go's interface as the validation
// programs of runtime-tools use, because no package of Debian has that.
package tap

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// T counts the tests of one program.
type T struct {
	Writer io.Writer // os.Stdout where nil
	count  *int
	todo   string
}

// New returns a T that has counted nothing.
func New() *T { return &T{count: new(int)} }

func (t *T) print(format string, arguments ...interface{}) {
	var writer io.Writer = os.Stdout
	if t.Writer != nil {
		writer = t.Writer
	}
	fmt.Fprintf(writer, format, arguments...)
}

// Header prints the version and, where it is known already, the plan.
func (t *T) Header(count int) {
	t.print("TAP version 13\n")
	if count > 0 {
		t.print("1..%d\n", count)
	}
}

// Ok prints one verdict.
func (t *T) Ok(passed bool, description string) {
	*t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	t.print("%s %d -%s %s\n", word, *t.count, t.todo, description)
}

// Todo returns a T that counts on and marks its verdicts as not to be held against anybody.
func (t *T) Todo() *T { return &T{Writer: t.Writer, count: t.count, todo: " # TODO"} }

// Pass is Ok with true.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail is Ok with false.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip prints verdicts of tests that were not run.
func (t *T) Skip(count int, description string) {
	for ; count > 0; count-- {
		*t.count++
		t.print("ok %d # SKIP %s\n", *t.count, description)
	}
}

// AutoPlan prints the plan of what has been counted.
func (t *T) AutoPlan() { t.print("1..%d\n", *t.count) }

// Diagnostic prints a message of one line or more as comments.
func (t *T) Diagnostic(message string) {
	t.print("# %s\n", strings.Replace(strings.TrimRight(message, "\n"), "\n", "\n# ", -1))
}

// Diagnosticf is Diagnostic with a format.
func (t *T) Diagnosticf(format string, arguments ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, arguments...))
}

// YAML prints a block of data about the last verdict; JSON is YAML as well.
func (t *T) YAML(message interface{}) error {
	data, err := json.MarshalIndent(message, "  ", "  ")
	if err != nil {
		return err
	}
	t.print("  ---\n  %s\n  ...\n", data)
	return nil
}

/* text_out.c - see text_out.h. */
#include "text_out.h"

#include "core.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

natsl_status natsl_text_out_open(const char *path, natsl_text_out *out)
{
    out->path = path;
    const int n = snprintf(out->temporary, sizeof out->temporary, "%s.tmp-%ld", path, (long)getpid());
    if (n < 0 || (size_t)n >= sizeof out->temporary)
        return natsl_fail(NATSL_ERR_USAGE, "%.100s...: the path is too long", path);
    errno = 0;
    out->file = fopen(out->temporary, "wx");
    if (!out->file) return natsl_fail(NATSL_ERR_IO, "%s: %s", out->temporary, strerror(errno));
    natsl_temporary_set(out->temporary);
    errno = 0;
    return NATSL_OK;
}

natsl_status natsl_text_out_close(natsl_text_out *out, int bad)
{
    natsl_status st = NATSL_OK;
    bad = bad || fflush(out->file) != 0 || fsync(fileno(out->file)) != 0;
    int why = errno;
    if (fclose(out->file) != 0 && !bad) bad = 1, why = errno;
    if (!bad && rename(out->temporary, out->path) != 0) bad = 1, why = errno;
    if (bad) {
        st = natsl_fail(NATSL_ERR_IO, "%s: %s", out->path, why ? strerror(why) : "writing failed");
        (void)unlink(out->temporary);
    }
    natsl_temporary_set("");
    return st;
}
